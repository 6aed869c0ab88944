# The chat and wss:// in a real browser, and HTTP/2 with Node's client

ring_needs() {
    has node || want nodejs
    [ ! -f tests/browser/package.json ] || has npm || want npm
    has openssl || want openssl
    has certutil || want libnss3-tools
    has chromium || has chromium-browser || has google-chrome || want chromium
}

ring_run() {
    local file
    if [ -f tests/browser/package.json ] && [ ! -d tests/browser/node_modules ]; then
        bounded 300 "$work/log/$ring/npm.log" npm --prefix tests/browser ci --no-audit --no-fund || fail "npm ci" "see the log"
    fi
    for file in tests/browser/*.test.mjs; do
        [ ! -f "$file" ] || tap "$file" 300 node "$file"
    done
}
