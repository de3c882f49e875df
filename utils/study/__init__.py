"""What helps a reader to learn: exercises that check themselves, quizzes, cards."""
