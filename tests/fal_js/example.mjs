import { fal } from "@fal-ai/client";

const result = await fal.subscribe("fal-ai/infinitalk", {
  input: {
    image_url: "https://v3.fal.media/files/koala/gmpc0QevDF9bBsL1EAYVF_1c637094161147559f0910a68275dc34.png",
    audio_url: "https://v3.fal.media/files/penguin/PtiCYda53E9Dav25QmQYI_output.mp3",
    prompt: "A woman with colorful hair talking on a podcast."
  },
  logs: true,
  onQueueUpdate: (update) => {
    if (update.status === "IN_PROGRESS") {
      update.logs.map((log) => log.message).forEach(console.log);
    }
  },
});
console.log(result.data);
console.log(result.requestId);
