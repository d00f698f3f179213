"""The words, story shapes, dialogues and rhymes from which `inputs.composer` composes the nursery text."""
