"""One side of a comparison: a program that answers each line on its standard input with one line."""

import subprocess
import sys


class Side:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args[0]} ended at: {line}")
        return answer.strip()

    def best(self, runs):
        """The least CPU time of so many runs, in ms."""
        return min(float(t) for t in self.ask(f"go {runs}").split())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
