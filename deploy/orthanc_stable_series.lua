-- Orthanc's own route, without the node: each CT series that is stable is denoised with `ctcycle denoise`, and the result
-- is stored in the same study. In orthanc.json:
--   "LuaScripts": ["/etc/orthanc/orthanc_stable_series.lua"], "StableAge": 60
-- Orthanc waits while a series is denoised; for more than a few series a day, use the node. See docs/node.md.

local CTCYCLE = os.getenv('CTCYCLE') or 'ctcycle'
local OPTIONS = os.getenv('CTCYCLE_OPTIONS') or ''

local function quoted(text)
  return "'" .. string.gsub(text, "'", "'\\''") .. "'"
end

local function write(path, content)
  local file = assert(io.open(path, 'wb'))
  assert(file:write(content))
  file:close()
end

local function read(path)
  local file = assert(io.open(path, 'rb'))
  local content = file:read('*a')
  file:close()
  return content
end

function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] ~= 'CT' or string.find(tags['SeriesDescription'] or '', 'ctcycle ', 1, true) then
    return
  end
  local folder = os.tmpname()
  os.remove(folder)
  os.execute('mkdir -m 700 ' .. quoted(folder) .. ' ' .. quoted(folder .. '/in'))
  local series = ParseJson(RestApiGet('/series/' .. seriesId))
  for number, instance in pairs(series['Instances']) do
    write(string.format('%s/in/%05d.dcm', folder, number), RestApiGet('/instances/' .. instance .. '/file'))
  end
  os.execute(CTCYCLE .. ' denoise ' .. quoted(folder .. '/in') .. ' ' .. quoted(folder .. '/out') .. ' ' .. OPTIONS
             .. ' >' .. quoted(folder .. '/log') .. ' 2>&1')
  local listed = io.popen('find ' .. quoted(folder .. '/out') .. " -name 'IM*.dcm' 2>/dev/null")
  local count = 0
  for path in listed:lines() do
    RestApiPost('/instances', read(path))
    count = count + 1
  end
  listed:close()
  if count == 0 then
    print('ctcycle denoised nothing of series ' .. seriesId .. ': ' .. (string.match(read(folder .. '/log'), '([^\n]+)\n*$') or ''))
  end
  os.execute('rm -rf ' .. quoted(folder))
end
