-- What wrk sends: the same GET for one tenant after the other, made beforehand so that wrk itself
-- costs little. Arguments after `--`: path, key, how many tenants, and what `Connection` says.

local requests, count, at = {}, 0, 0

function init(args)
    count = tonumber(args[3])
    for number = 1, count do
        requests[number] = wrk.format("GET", args[1], {
            ["Host"] = wrk.headers["Host"],
            ["User-Agent"] = "compare/1",
            ["Accept"] = "application/json",
            ["Connection"] = args[4],
            ["X-Api-Key"] = args[2],
            ["X-Tenant"] = string.format("tenant-%05d", number - 1),
        })
    end
end

function request()
    at = at % count + 1
    return requests[at]
end

function done(summary, latency, _)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format(
        '\n{"requests": %d, "microseconds": %d, "failed": %d, "p50": %d, "p99": %d}\n',
        summary.requests, summary.duration, failed,
        latency:percentile(50), latency:percentile(99)))
end
