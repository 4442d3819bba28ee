"""Steps within a budget of seconds. Every one is in the results from the start, so that whatever ends the check, what was
not measured is listed."""

import json
import time

SHORTEST = 8  # seconds in which no step comes to anything


class Ledger:
    def __init__(self, names, seconds, keep, clock=time.monotonic):
        """keep(results) is called after every change."""
        self.seconds, self.keep, self.clock, self.begin = seconds, keep, clock, clock()
        self.results = [{"name": name, "left_out": "not reached"} for name in names]
        self.keep(self.results)

    def left(self):
        return self.seconds - (self.clock() - self.begin)

    def step(self, name, body):
        """body() gives the figures of the step, or a word on why there are none."""
        found = {"left_out": "the time was spent"} if self.left() < SHORTEST else body()
        found = {"name": name, **({"failed": found} if isinstance(found, str) else found)}
        place = next(i for i, result in enumerate(self.results) if result["name"] == name)
        self.results[place] = found
        print(json.dumps(found), flush=True)
        self.keep(self.results)

    def leave_out(self, name, why):
        self.step(name, lambda: {"left_out": why})
