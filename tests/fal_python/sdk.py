"""The fal SDK (`fal.apps`), unmodified: reads calls as lines of JSON. It asks with trailing slashes, follows no redirect, and takes 200 for completed and 202 for not."""

import dataclasses
import json
import sys

import httpx
from fal import apps


def told(status):
    return {"kind": type(status).__name__, **dataclasses.asdict(status)}


class Calls:
    def run(self, app, arguments, **options):
        return apps.run(app, arguments, **options)

    def submit(self, app, arguments):
        return {"request_id": apps.submit(app, arguments).request_id}

    def follow(self, app, arguments):
        handle = apps.submit(app, arguments)
        events = [told(status) for status in handle.iter_events(logs=True)]
        return {"events": events, "last": told(handle.status(logs=True)), "result": handle.get()}

    def status(self, app, rid, **options):
        return told(apps.RequestHandle(app, rid).status(**options))

    def result(self, app, rid):
        return apps.RequestHandle(app, rid).fetch_result()

    def cancel(self, app, rid):
        return apps.RequestHandle(app, rid).cancel()

    def stream(self, app, arguments):
        return [line for line in apps.stream(app, arguments, path="/stream") if isinstance(line, str)]


if __name__ == "__main__":
    calls = Calls()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"value": getattr(calls, asked["call"])(**asked["with"])}
        except httpx.HTTPStatusError as error:
            answer = {"raised": {"type": type(error).__name__, "status_code": error.response.status_code, "text": error.response.text}}
        print(json.dumps(answer), flush=True)
