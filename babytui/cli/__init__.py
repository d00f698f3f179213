"""The command line: one small file per verb. Standard output is data, standard error is narration."""
