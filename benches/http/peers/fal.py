"""fal's queue in FastAPI, as a careful author would write it: requests lie in SQLite (file named by PEER_DB), committed as durably as ours, before they are answered; a request that a retrying client sends again is the same one."""

import hashlib
import os
import sqlite3
import uuid
from typing import Literal

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field

app = FastAPI(title="fal queue")
database = sqlite3.connect(os.environ.get("PEER_DB", ":memory:"), check_same_thread=False)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute(
    "CREATE TABLE IF NOT EXISTS requests"
    " (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, app TEXT, input TEXT, twin TEXT, state TEXT, started REAL, ended REAL)"
)
database.execute("CREATE INDEX IF NOT EXISTS twins ON requests (twin, state)")
database.execute("CREATE INDEX IF NOT EXISTS waiting ON requests (state, seq)")


class InfinitalkInput(BaseModel):
    image_url: str
    audio_url: str
    prompt: str
    num_frames: int = Field(145, ge=41, le=721)
    resolution: Literal["480p", "720p"] = "480p"
    seed: int | None = 42
    acceleration: Literal["none", "regular", "high"] = "regular"


def told(request, id, status, **more):
    base = f"{request.url.scheme}://{request.url.netloc}/queue/fal-ai/infinitalk/requests/{id}"
    urls = {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}
    return {"status": status, "request_id": id, **urls, "logs": None, "metrics": {}, **more}


@app.post("/queue/fal-ai/infinitalk")
async def submit(request: Request, body: InfinitalkInput, response: Response):
    input = body.model_dump_json()
    twin = hashlib.sha256(f"fal-ai/infinitalk {input}".encode()).hexdigest()
    known = database.execute("SELECT id FROM requests WHERE twin = ? AND state = 'queued'", (twin,)).fetchone()
    id = known[0] if known else str(uuid.uuid4())
    if not known:
        row = (id, "fal-ai/infinitalk", input, twin, "queued")
        database.execute("INSERT INTO requests (id, app, input, twin, state) VALUES (?,?,?,?,?)", row)
        database.commit()
    response.headers["x-fal-request-id"] = id
    return told(request, id, "IN_QUEUE", queue_position=0)


@app.get("/queue/fal-ai/infinitalk/requests/{id}/status")
async def status(request: Request, id: str, response: Response, logs: bool = False):
    row = database.execute("SELECT seq, state FROM requests WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise HTTPException(404, "Request not found")
    response.headers["x-fal-request-id"] = id
    seq, state = row
    if state == "queued":
        (before,) = database.execute("SELECT count(*) FROM requests WHERE state = 'queued' AND seq < ?", (seq,)).fetchone()
        response.status_code = 202
        return told(request, id, "IN_QUEUE", queue_position=before)
    return told(request, id, "COMPLETED", metrics={"inference_time": 1.0})


@app.post("/finish/{id}")
async def finish(id: str):
    """For the bench: the request has ended."""
    database.execute("UPDATE requests SET state = 'done' WHERE id = ?", (id,))
    database.commit()
