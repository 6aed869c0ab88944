//! The Lua scripts for topics with history, which Redis executes atomically.
//!
//! Each topic has two keys. A stream holds the messages; its entry ids have the form `EPOCH-OFFSET`
//! and are the positions. A hash holds the epoch, the offset of the last message, the id of the
//! server's run when it was stored, and the bytes in the stream. Offsets count from 1 without gaps,
//! so that missing messages are noticed. An epoch begins with a topic and with each start of the
//! server, which may have lost messages that it had acknowledged.

/// Defines `now` (ms), the topic's state, and `begin()`, which starts an epoch unless this run of the
/// server has one.
const COMMON: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[2], 'epoch', 'offset', 'run', 'bytes')
local epoch, offset, bytes = tonumber(state[1]), tonumber(state[2]), tonumber(state[4]) or 0
local function id(at) return string.format('%.0f-%.0f', epoch, at) end
local function save(keep)
    redis.call('HSET', KEYS[2], 'epoch', string.format('%.0f', epoch), 'offset', string.format('%.0f', offset),
        'run', ARGV[1], 'bytes', string.format('%.0f', bytes))
    redis.call('PEXPIRE', KEYS[2], keep)
end
local function begin()
    if epoch and offset and state[3] == ARGV[1] then return false end
    local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    local known = last and tonumber(string.match(last[1], '^%d+')) or 0
    epoch = math.max(now, known + 1, (epoch or 0) + 1)
    offset = 0
    return true
end
";

/// KEYS: stream, state, number of the node's last publication. ARGV: run, expiry of the topic (ms),
/// head of the envelope, payload, binary, number, maximum of messages, maximum age (ms), maximum of
/// bytes, channel, expiry of the node's number (ms).
const STORE: &str = r"
local number = tonumber(ARGV[6])
if number <= tonumber(redis.call('GET', KEYS[3]) or '0') then return 'seen' end
redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[11])
begin()
offset = offset + 1
local at, age, payload = id(offset), tonumber(ARGV[8]), ARGV[4]
local expires = age > 0 and now + age or 0
redis.call('XADD', KEYS[1], at, 'm', payload, 'b', ARGV[5], 'x', string.format('%.0f', expires))
bytes = bytes + #payload
local length = redis.call('XLEN', KEYS[1])
while length > 1 do
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    local gone = tonumber(oldest[2][6]) or 0
    if length <= tonumber(ARGV[7]) and bytes <= tonumber(ARGV[9]) and (gone == 0 or gone > now) then break end
    redis.call('XDEL', KEYS[1], oldest[1])
    bytes = bytes - #oldest[2][2]
    length = length - 1
end
if length == 1 then bytes = #payload end
save(ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[10], ARGV[3] .. string.char(#at) .. at .. payload)
return at
";

/// KEYS: stream, state. ARGV: run, expiry of the topic (ms), position. Returns whether the replay is
/// complete, the newest position, and the entries.
const REPLAY: &str = r"
if begin() then
    save(ARGV[2])
    return {ARGV[3] == '' and 1 or 0, id(0), {}}
end
if ARGV[3] == '' then return {1, id(offset), {}} end
local of, after = string.match(ARGV[3], '^(%d+)%-(%d+)$')
of, after = tonumber(of), tonumber(after)
if of ~= epoch or after > offset then return {0, id(offset), {}} end
if after == offset then return {1, id(offset), {}} end
local entries = redis.call('XRANGE', KEYS[1], '(' .. id(after), id(offset))
if #entries ~= offset - after then return {0, id(offset), {}} end
local gone = tonumber(entries[1][2][6]) or 0
if gone ~= 0 and gone <= now then return {0, id(offset), {}} end
return {1, id(offset), entries}
";

/// Whether the script may have stored the message although it has failed with this error. Redis does
/// not roll back: if an account may not publish to the channel, the message is in the stream all the
/// same.
pub(super) fn may_have_stored(error: &str) -> bool {
    // Errors of the first command that writes.
    let at_once = ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN"];
    // Redis 7 appends this to an error in a script, Redis 6 puts it in front.
    error.contains("@user_script:") && !at_once.iter().any(|kind| error.contains(kind))
}

pub(super) fn store() -> String {
    format!("{COMMON}{STORE}")
}

pub(super) fn replay() -> String {
    format!("{COMMON}{REPLAY}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_behind_the_first_write_leave_it_open() {
        for (error, may) in [
            (
                "ERR The user executing the script can't publish to the channel mentioned in the command script: ed3b, on @user_script:35.",
                true,
            ),
            (
                "ERR Error running script (call to f_ed3b): @user_script:35: @user_script: 35: -NOPERM this user has no permissions to access one of the channels used as arguments",
                true,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: ed3b, on @user_script:21.",
                false,
            ),
            ("NOSCRIPT No matching script. Please use EVAL.", false),
            ("NOPERM User chat has no permissions to run the 'evalsha' command", false),
        ] {
            assert_eq!(may_have_stored(error), may, "{error}");
        }
    }
}
