"""One run: its loop, births and ends of threads, starting the program, and who listens to what happens."""
