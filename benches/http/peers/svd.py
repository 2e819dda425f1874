"""The video generator backend's routes in FastAPI, as its users know them; generations lie in SQLite (file named by PEER_DB): the yardstick for answers and for speed."""

import os
import sqlite3
import uuid
from datetime import datetime, timezone

from fastapi import FastAPI, File, HTTPException, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel

app = FastAPI(title="AI Video Generator API")
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
COLUMNS = ("id", "characterImageUrl", "script", "duration", "quality", "videoUrl", "status", "createdAt")
database = sqlite3.connect(os.environ.get("PEER_DB", ":memory:"), check_same_thread=False)
database.execute("PRAGMA journal_mode=WAL")
database.execute(
    "CREATE TABLE IF NOT EXISTS generations (id TEXT PRIMARY KEY, characterImageUrl TEXT, script TEXT, duration INTEGER, "
    "quality TEXT, videoUrl TEXT, status TEXT, createdAt TEXT)"
)


class GenerateRequest(BaseModel):
    characterImageUrl: str
    script: str
    duration: int = 5
    quality: str = "768"


@app.get("/health")
async def health():
    return {"status": "ok", "service": "AI Video Generator API"}


@app.post("/upload-character")
async def upload(character: UploadFile = File(...)):
    if not (character.content_type or "").startswith("image/"):
        raise HTTPException(400, "File must be an image")
    extension = character.filename.rsplit(".", 1)[-1] if "." in character.filename else "jpg"
    return {"imageUrl": f"/uploads/character_{uuid.uuid4()}.{extension}"}


@app.post("/generate-video")
async def generate(request: GenerateRequest):
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = (str(uuid.uuid4()), request.characterImageUrl, request.script, request.duration, request.quality, None, "pending", now)
    kept = [min(value, 2**63 - 1) if isinstance(value, int) else value for value in row]  # SQLite's integers end there
    database.execute("INSERT INTO generations VALUES (?,?,?,?,?,?,?,?)", kept)
    database.commit()
    return dict(zip(COLUMNS, row))


@app.get("/generation/{id}")
async def generation(id: str):
    row = database.execute("SELECT * FROM generations WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise HTTPException(404, "Generation not found")
    return dict(zip(COLUMNS, row))


@app.get("/generations")
async def generations():
    rows = database.execute("SELECT * FROM generations ORDER BY createdAt DESC LIMIT 10").fetchall()
    return [dict(zip(COLUMNS, row)) for row in rows]
