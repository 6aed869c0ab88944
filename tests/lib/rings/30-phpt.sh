# The extension in PHP's own test runner, without and with opcache

ring_needs() { has_opcache || has_opcache -d zend_extension=opcache || want php-opcache; }

# Since PHP 8.5 opcache is part of PHP.
has_opcache() { "${PHP:-php}" -n "$@" -r 'exit(extension_loaded("Zend OPcache") ? 0 : 1);' >/dev/null 2>&1; }

# phpize knows the folder of PHP's test runner.
find_run_tests() {
    local config file
    config=${PHP_CONFIG:-php-config}
    for file in "$("$config" --extension-dir)/build" "$("$config" --prefix)/lib/php/build" \
        "$("$config" --prefix)/lib64/php/build" "$("$config" --prefix)/lib/php/"*/build; do
        if [ -f "$file/run-tests.php" ]; then
            echo "$file/run-tests.php"
            return
        fi
    done
    return 1
}

# phpt_run NAME OPTION…: runs the suite once, and records each phpt.
phpt_run() {
    local name=$1 status=0 log line test before passed failed option plain=() tests=(tests/phpt) again=no
    shift
    for option in --no-color --no-progress; do # missing in PHP 8.1's runner
        ! grep -q -- "'$option'" "$run_tests" || plain+=("$option")
    done
    log=$work/log/$ring/$name.log
    before=$(count_failed "$ring") passed=$(count ok "$ring")
    note "$name"
    run() {
        status=0
        TEST_PHP_EXECUTABLE=$PHP TEST_PHP_SRCDIR=$root NO_INTERACTION=1 REPORT_EXIT_STATUS=1 \
            bounded 900 "$log" "$PHP" -n "$run_tests" -n -q "${plain[@]}" --offline --show-diff --set-timeout 90 \
            -d "extension=$SPROCKET_SO" "$@" "${tests[@]}" || status=$?
    }
    run -j4 "$@" # more than the processors, because most tests mostly wait
    if grep -qa '^ERROR: Worker' "$log"; then
        note "the parallel runner crashed, which a failed test can cause; running the tests one by one"
        run "$@"
    fi
    read_log "$@"
    failed=$(($(count_failed "$ring") - before))
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then fail "$name" "run-tests.php ended with status $status"; fi
    if [ "$(count ok "$ring")" -eq "$passed" ] && [ "$failed" -eq 0 ]; then fail "$name" "run-tests.php passed no test"; fi
}

# Records the results in the log. Failed tests run a second time, one by one, as in `tap`.
read_log() {
    local failed=()
    while IFS= read -r line; do
        test=${line%%.phpt]*}
        test="$name: ${test##*[}"
        case $line in
            PASS*)
                if [ "$again" = no ]; then record ok "$test"; else record second "$test" "see $log.first"; fi
                ;;
            SKIP*) record skip "$test" "${line##*reason: }" ;;
            # By its own rule, run-tests.php repeats a time-dependent test once.
            WARN*'Test passed on retry attempt'*) record second "$test" "run-tests.php does not say why" ;;
            XFAIL*) record skip "$test" "expected to fail" ;;
            *)
                if [ "$again" = no ] && [ "${TEST_ATTEMPTS:-2}" -gt 1 ]; then
                    line=${line##*[}
                    failed+=("${line%%]*}")
                else
                    record fail "$test" "${line%% *}"
                fi
                ;;
        esac
    done < <(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -aE '^(PASS|FAIL|SKIP|XFAIL|XLEAK|LEAK|BORK|WARN[^ ]*) .*\.phpt\]')
    [ ${#failed[@]} -gt 0 ] || return 0
    note "SECOND ATTEMPT at ${failed[*]}"
    cp "$log" "$log.first"
    again=yes tests=("${failed[@]}")
    run "$@"
    read_log "$@"
}

# The test runner writes to its own folder, so this copies it, and sets run_tests to the copy.
copy_run_tests() {
    if ! run_tests=$(find_run_tests); then
        fail "run-tests.php" "not found beside php-config; install PHP's development files"
        return 1
    fi
    cp "$run_tests" "$work/run-tests.php"
    run_tests=$work/run-tests.php
}

ring_quick() {
    local run_tests
    ! copy_run_tests || phpt_run plain
}

ring_run() {
    local run_tests load=(-d zend_extension=opcache)
    copy_run_tests || return 0
    phpt_run plain
    if has_opcache; then load=(); fi
    phpt_run opcache "${load[@]}" -d opcache.enable=1 -d opcache.enable_cli=1 \
        -d opcache.protect_memory=1 -d opcache.file_update_protection=0
}
