-- wrk: submits to fal's queue, each with a seed of its own so that no two are the same request, in any run.
local seed
init = function()
  math.randomseed(os.time())
  seed = math.random(1, 1000000) * 1000
end
request = function()
  seed = seed + 1
  local body = string.format(
    '{"image_url":"https://example.com/a.png","audio_url":"https://example.com/a.wav","prompt":"bench","seed":%d}', seed)
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
end
