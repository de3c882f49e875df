"""The one door to the course:  python course.py lab | test | run | doctor | bench | setup | renew

`python course.py` alone lists what it can do; `python course.py VERB --help` shows examples.
This file stays readable for very old Pythons, so that they can say which Python is needed.
"""

import sys

OLDEST, NEWEST = (3, 11), (3, 13)

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        "This is Python %d.%d; the course needs Python 3.11, 3.12 or 3.13.\n"  # noqa: UP031  old Pythons must read this
        "If you have one of them beside this one, call it by name:\n"
        "    python3.12 course.py lab        (Linux, macOS)\n"
        "    py -3.12 course.py lab          (Windows)\n"
        "If not, install Python 3.12 from your system's packages or from python.org." % sys.version_info[:2]
    )

import pathlib  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from commands.parts.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
