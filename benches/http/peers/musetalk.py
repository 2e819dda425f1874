"""The MuseTalk server's routes in FastAPI, as its users know them, with nothing behind them: the yardstick for answers and for speed."""

import re
from typing import Optional

from fastapi import FastAPI, File, Form, HTTPException, UploadFile
from fastapi.responses import StreamingResponse

app = FastAPI(title="MuseTalk Server")
avatars = {}
NAME = re.compile(r"^[a-zA-Z0-9_\-]{1,64}$")


def checked(avatar_id):
    if not NAME.match(avatar_id):
        raise HTTPException(400, "Invalid avatar_id")
    return avatar_id


@app.get("/health")
async def health():
    return {"status": "running", "models": {"loaded": True, "device": "cpu"}, "loaded_avatars": sorted(avatars)}


@app.get("/avatars")
async def listed():
    return sorted(avatars)


@app.post("/avatars/preprocess")
async def preprocess(avatar_id: str = Form(...), bbox_shift: int = Form(0), video_file: UploadFile = File(...)):
    checked(avatar_id)
    info = {"avatar_id": avatar_id, "video_path": f"uploads/{avatar_id}_{video_file.filename}", "bbox_shift": bbox_shift, "version": "v15"}
    avatars[avatar_id] = info
    return {"message": "Avatar processed successfully", "avatar_id": avatar_id, "info": info}


@app.post("/inference/stream/{avatar_id}")
async def stream(avatar_id: str, audio_file: UploadFile = File(...), batch_size: Optional[int] = Form(None, ge=1, le=32)):
    if checked(avatar_id) not in avatars:
        raise HTTPException(404, f"Avatar {avatar_id} not found. Preprocess it first.")

    async def parts():
        yield b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + b"\xff\xd8\xff\xd9" + b"\r\n"

    return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=frame")


@app.post("/inference/batch/{avatar_id}")
async def batch(avatar_id: str, audio_file: UploadFile = File(...), batch_size: Optional[int] = Form(None, ge=1, le=32)):
    if checked(avatar_id) not in avatars:
        raise HTTPException(404, f"Avatar {avatar_id} not found")
    return {}
