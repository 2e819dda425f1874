"""The MuseTalk S3 API's one route in FastAPI, as its users know it, with nothing behind it: the yardstick for answers and for speed."""

from typing import Dict, Optional

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI(title="MuseTalk S3 API")


class AvatarConfig(BaseModel):
    preparation: bool = True
    video_path: str
    audio_clips: Dict[str, str]
    bbox_shift: int = 0


class InferenceConfig(BaseModel):
    version: str = "v15"
    ffmpeg_path: str = "./ffmpeg/ffmpeg-master-latest-linux64-gpl/bin/"
    gpu_id: int = 0
    vae_type: str = "sd-vae"
    unet_config: str = "./models/musetalk/musetalk.json"
    unet_model_path: str = "./models/musetalk/pytorch_model.bin"
    whisper_dir: str = "./models/whisper"
    bbox_shift: int = 0
    result_dir: str = "./results"
    extra_margin: int = 10
    fps: int = 25
    audio_padding_length_left: int = 2
    audio_padding_length_right: int = 2
    batch_size: int = 30
    output_vid_name: Optional[str] = None
    use_saved_coord: bool = False
    saved_coord: bool = False
    parsing_mode: str = "jaw"
    left_cheek_width: int = 90
    right_cheek_width: int = 90
    skip_save_images: bool = False
    s3_bucket: Optional[str] = None
    s3_prefix: Optional[str] = None
    avatars: Dict[str, AvatarConfig]


class InferenceResponse(BaseModel):
    avatar_id: str
    audio_id: str
    output_path: Optional[str] = None
    s3_output_path: Optional[str] = None
    message: str


@app.post("/inference", response_model=InferenceResponse)
async def inference(config: InferenceConfig, avatar_id: str, audio_id: str):
    if avatar_id not in config.avatars:
        raise HTTPException(400, f"Avatar {avatar_id} not found in configuration")
    if audio_id not in config.avatars[avatar_id].audio_clips:
        raise HTTPException(400, f"Audio {audio_id} not found in avatar {avatar_id} configuration")
    return InferenceResponse(avatar_id=avatar_id, audio_id=audio_id, message="Inference completed successfully")
