"""The shell, `babytui repl`: slash commands and a model that goes on with what is typed."""
