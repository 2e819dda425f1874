// fal's JavaScript client, unmodified: reads calls as lines of JSON, makes them, tells what came of them.
// `client.mjs '{"base": "http://…/fal"}'` rewrites hosts in a middleware, `'{"proxy": "http://…/api/fal/proxy"}'` sets proxyUrl, `'{}'` nothing.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { ApiError, fal } from "@fal-ai/client";

const setup = JSON.parse(process.argv[2]);
const prefixes = { "fal.run": "run", "queue.fal.run": "queue", "rest.fal.ai": "rest", "v3.fal.media": "cdn" };

function below(base) {
  return async (request) => {
    const url = new URL(request.url);
    return { ...request, url: `${base}/${prefixes[url.hostname]}${url.pathname}${url.search}` };
  };
}

if (setup.base) fal.config({ requestMiddleware: below(setup.base) });
if (setup.proxy) fal.config({ proxyUrl: { url: setup.proxy, when: "always" } });

const file = (path, type) => new File([readFileSync(path)], basename(path), { type });

const calls = {
  run: ({ app, ...options }) => fal.run(app, options),
  submit: ({ app, ...options }) => fal.queue.submit(app, options),
  status: ({ app, ...options }) => fal.queue.status(app, options),
  result: ({ app, ...options }) => fal.queue.result(app, options),
  cancel: async ({ app, ...options }) => (await fal.queue.cancel(app, options)) ?? null,
  upload: ({ path, type, ...options }) => fal.storage.upload(file(path, type), options),

  // an upload larger than what is to be sent at once; what is in it does not matter
  uploadLarge: ({ bytes }) => fal.storage.upload(new File([new Uint8Array(bytes).fill(7)], "large.bin", { type: "application/octet-stream" })),

  async subscribe({ app, ...options }) {
    const updates = [];
    const enqueued = [];
    // the logs grow in place while updates come: what was there at the time is what counts
    const onQueueUpdate = (update) => updates.push(structuredClone(update));
    const result = await fal.subscribe(app, { ...options, onQueueUpdate, onEnqueue: (rid) => enqueued.push(rid) });
    return { result, updates, enqueued };
  },

  async streamStatus({ app, ...options }) {
    const stream = await fal.queue.streamStatus(app, options);
    const events = [];
    stream.on("data", (event) => events.push(event));
    const last = await stream.done();
    return { events, last };
  },

  async stream({ app, ...options }) {
    const stream = await fal.stream(app, options);
    const events = [];
    for await (const event of stream) events.push(event);
    return { events, last: await stream.done(), requestId: stream.requestId };
  },

  // files anywhere in the input are uploaded by the client itself
  runWithFiles: ({ app, picture, voice, input }) =>
    fal.run(app, { input: { ...input, image_url: file(picture, "image/jpeg"), audio_url: file(voice, "audio/mpeg") } }),

  realtime: ({ app, image, pcm, size = 6400 }) =>
    new Promise((resolve, reject) => {
      const sound = Buffer.from(pcm, "base64");
      const told = { numbers: [], kinds: [], pictures: 0, first: null, done: null };
      // the client keeps only the latest message until it is connected, and tells nobody when that is
      const opened = new Promise((open) => {
        const Original = globalThis.WebSocket;
        globalThis.WebSocket = class extends Original {
          constructor(...words) {
            super(...words);
            globalThis.WebSocket = Original;
            this.addEventListener("open", () => setTimeout(open));
            this.addEventListener("close", (event) => resolve({ ...told, code: event.code }));
          }
        };
      });
      const connection = fal.realtime.connect(app, {
        throttleInterval: 0,
        onError: reject,
        onResult(answer) {
          if (answer.image) {
            told.numbers.push(answer.frame);
            told.first ??= Buffer.from(answer.image.content).toString("base64");
            if (!told.kinds.includes(answer.image.content.constructor.name)) told.kinds.push(answer.image.content.constructor.name);
          }
          if (answer.done) told.done = answer;
        },
      });
      connection.send({ image_url: image });
      opened.then(() => {
        for (let at = 0; at < sound.length; at += size) connection.send({ audio: new Uint8Array(sound.subarray(at, at + size)), sample_rate: 16000 });
        connection.send({ end: true });
      });
    }),
};

function raised(error) {
  const { name, message, status, body, requestId, timeoutType, fieldErrors, isUserTimeout } = error;
  const text = String(error.cause ?? "");
  return { type: error instanceof ApiError ? name : error.constructor.name, message, status, body, requestId, timeoutType, fieldErrors, isUserTimeout, text };
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await calls[asked.call](asked.with)) ?? null };
  } catch (error) {
    answer = { raised: raised(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
