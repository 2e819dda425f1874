"""The official Python client, unmodified: reads calls as lines of JSON, makes them, tells what came of them.

`client.py sync|async '{"base": "http://…/fal"}'`. A base is how its users reach plain HTTP: by assigning the module's constants."""

import asyncio
import base64
import dataclasses
import json
import sys

import fal_client
import fal_client.client as inside
import httpx


def told(status):
    return {"kind": type(status).__name__, **dataclasses.asdict(status)}


def addresses(handle):
    return {name: getattr(handle, name) for name in ("request_id", "response_url", "status_url", "cancel_url")}


def lifecycle(seconds):
    return fal_client.StorageSettings(expires_in=seconds) if seconds else None


def chunks(pcm, size=6400):
    sound = base64.b64decode(pcm)
    return [sound[at : at + size] for at in range(0, len(sound), size)]


class Frames:
    """What a realtime connection answered."""

    def __init__(self):
        self.pictures, self.numbers, self.done = [], [], None

    def take(self, answer):
        """Whether there is more to come."""
        if answer is None:
            return False
        if "image" in answer:
            self.pictures.append(answer["image"]["content"])
            self.numbers.append(answer["frame"])
        if answer.get("done"):
            self.done = answer
        return True

    def told(self):
        kinds = {type(picture).__name__ for picture in self.pictures}
        first, last = (base64.b64encode(picture).decode() for picture in (self.pictures[0], self.pictures[-1]))
        return {"numbers": self.numbers, "kinds": sorted(kinds), "first": first, "last": last, "done": self.done}


class Sync:
    def run(self, app, arguments, **options):
        return fal_client.run(app, arguments, **options)

    def submit(self, app, arguments, **options):
        return addresses(fal_client.submit(app, arguments, **options))

    def subscribe(self, app, arguments, **options):
        updates, enqueued = [], []
        result = fal_client.subscribe(
            app, arguments, on_queue_update=lambda status: updates.append(told(status)), on_enqueue=enqueued.append, **options
        )
        return {"result": result, "updates": updates, "enqueued": enqueued}

    def follow(self, app, arguments):
        handle = fal_client.submit(app, arguments)
        return {"events": [told(status) for status in handle.iter_events(with_logs=True)], "result": handle.get()}

    def status(self, app, rid, **options):
        return told(fal_client.status(app, rid, **options))

    def result(self, app, rid):
        return fal_client.result(app, rid)

    def cancel(self, app, rid):
        return fal_client.cancel(app, rid)

    def stream(self, app, arguments):
        return list(fal_client.stream(app, arguments))

    def upload(self, data, content_type, name=None, **options):
        return fal_client.upload(base64.b64decode(data), content_type, name, **options)

    def upload_file(self, path, expires=None, **options):
        return fal_client.upload_file(path, lifecycle=lifecycle(expires), **options)

    def encode_file(self, path):
        return fal_client.encode_file(path)

    def realtime(self, app, image, pcm, **options):
        frames = Frames()
        with fal_client.realtime(app, **options) as connection:
            connection.send({"image_url": image})
            for chunk in chunks(pcm):
                connection.send({"audio": chunk, "sample_rate": 16000})
            connection.send({"end": True})
            while frames.take(connection.recv()):
                pass
        return frames.told()


class Async:
    async def run(self, app, arguments, **options):
        return await fal_client.run_async(app, arguments, **options)

    async def submit(self, app, arguments, **options):
        return addresses(await fal_client.submit_async(app, arguments, **options))

    async def subscribe(self, app, arguments, **options):
        updates, enqueued = [], []
        result = await fal_client.subscribe_async(
            app, arguments, on_queue_update=lambda status: updates.append(told(status)), on_enqueue=enqueued.append, **options
        )
        return {"result": result, "updates": updates, "enqueued": enqueued}

    async def follow(self, app, arguments):
        handle = await fal_client.submit_async(app, arguments)
        events = [told(status) async for status in handle.iter_events(with_logs=True)]
        return {"events": events, "result": await handle.get()}

    async def status(self, app, rid, **options):
        return told(await fal_client.status_async(app, rid, **options))

    async def result(self, app, rid):
        return await fal_client.result_async(app, rid)

    async def cancel(self, app, rid):
        return await fal_client.cancel_async(app, rid)

    async def stream(self, app, arguments):
        return [event async for event in fal_client.stream_async(app, arguments)]

    async def upload(self, data, content_type, name=None, **options):
        return await fal_client.upload_async(base64.b64decode(data), content_type, name, **options)

    async def upload_file(self, path, expires=None, **options):
        return await fal_client.upload_file_async(path, lifecycle=lifecycle(expires), **options)

    async def encode_file(self, path):
        return fal_client.encode_file(path)

    async def realtime(self, app, image, pcm, **options):
        frames = Frames()
        async with fal_client.realtime_async(app, **options) as connection:
            await connection.send({"image_url": image})
            for chunk in chunks(pcm):
                await connection.send({"audio": chunk, "sample_rate": 16000})
            await connection.send({"end": True})
            while frames.take(await connection.recv()):
                pass
        return frames.told()


def raised(error):
    """What a program that catches it could read."""
    names = ("status_code", "message", "error_type", "request_id", "timeout")
    found = {name: getattr(error, name) for name in names if getattr(error, name, None) is not None}
    if getattr(error, "response", None) is not None:
        headers = dict(error.response.headers)
        found["headers"] = {name: value for name, value in headers.items() if name.startswith("x-fal")}
    return {"type": type(error).__name__, "text": str(error)[:500], **found}


async def main(kind, setup):
    if base := setup.get("base"):
        inside.RUN_URL_FORMAT, inside.QUEUE_URL_FORMAT = f"{base}/run/", f"{base}/queue/"
        inside.REALTIME_URL_FORMAT = f"{base}/run/".replace("http", "ws", 1)
        inside.REST_URL, inside.CDN_URL = f"{base}/rest", f"{base}/cdn"
    calls = Sync() if kind == "sync" else Async()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        try:
            value = getattr(calls, asked["call"])(**asked["with"])
            answer = {"value": await value if kind == "async" else value}
        except (inside.FalClientError, inside.RealtimeError, httpx.HTTPError) as error:
            answer = {"raised": raised(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
