import fal_client

def on_queue_update(update):
    if isinstance(update, fal_client.InProgress):
        for log in update.logs:
           print(log["message"])

result = fal_client.subscribe(
    "fal-ai/infinitalk",
    arguments={
        "image_url": "https://v3.fal.media/files/koala/gmpc0QevDF9bBsL1EAYVF_1c637094161147559f0910a68275dc34.png",
        "audio_url": "https://v3.fal.media/files/penguin/PtiCYda53E9Dav25QmQYI_output.mp3",
        "prompt": "A woman with colorful hair talking on a podcast."
    },
    with_logs=True,
    on_queue_update=on_queue_update,
)
print(result)
