"""The playground: a Textual app over the same functions the command line uses. Imported only when it is opened."""
