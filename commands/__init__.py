"""What `python course.py VERB` can do: one small file for each verb.

A verb is a module of this package; what verbs share is in `parts/`.  It has

    a docstring              its first line is the summary in the list of verbs
    EXAMPLES                 shown at the end of `course.py VERB --help`
    NEEDS_ENVIRONMENT        True: set up if needed, then run with the environment's Python
    arguments(parser)        adds its arguments to an argparse parser
    main(options) -> int     does it; the number is the exit code

and optionally PASSES_ON = True: arguments that it does not know are no error, but a list in
`options.rest`.  Everything here is imported before the environment exists, so at the top of a module only the
standard library is imported.
"""
