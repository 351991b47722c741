"""The disposable index over runs, and the language in which it is asked."""
