"""The InfiniteTalk API's routes in FastAPI, as its users know them, with nothing behind them: the yardstick for answers and for speed."""

import os

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI(title="InfiniteTalk API Server", version="1.0.0")


class HealthResponse(BaseModel):
    status: str
    model_loaded: bool
    gpu_available: bool
    version: str


class GenerateVideoRequest(BaseModel):
    audio_path: str
    image_path: str
    prompt: str = ""
    resolution: str = "infinitetalk-480"
    seed: int = 42
    diffusion_steps: int = 40
    text_guide_scale: float = 5.0
    audio_guide_scale: float = 4.0
    motion_frame: int = 9
    use_color_correction: bool = True


@app.get("/")
async def root():
    return {
        "name": "InfiniteTalk API Server",
        "version": "1.0.0",
        "description": "Audio-driven talking head video generation",
        "endpoints": {"health": "/api/health", "generate": "/api/generate-video"},
    }


@app.get("/api/health", response_model=HealthResponse)
async def health():
    return HealthResponse(status="healthy", model_loaded=False, gpu_available=False, version="1.0.0")


@app.post("/api/generate-video")
async def generate(request: GenerateVideoRequest):
    if request.resolution not in ("infinitetalk-480", "infinitetalk-720"):
        raise HTTPException(400, f"Unsupported resolution: {request.resolution}. Use 'infinitetalk-480' or 'infinitetalk-720'")
    for path, name in ((request.audio_path, "Audio"), (request.image_path, "Image")):
        if not os.path.exists(path):
            raise HTTPException(404, f"{name} file not found: {path}")
    return request.model_dump()
