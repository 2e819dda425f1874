-- wrk: submits to fal's queue, each with a seed of its own so that no two are the same request.
local seed = math.random(1, 1000000) * 1000
request = function()
  seed = seed + 1
  local body = string.format(
    '{"image_url":"https://example.com/a.png","audio_url":"https://example.com/a.wav","prompt":"bench","seed":%d}', seed)
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
end
init = function() math.randomseed(os.time()) end
