<?php

declare(strict_types=1);

// Random use of the API: no script may crash PHP or leak objects.

require __DIR__ . '/lib/bootstrap.php';

for ($seed = 1; $seed <= 8; $seed++) {
    test("random use of the API neither crashes nor leaks, seed $seed", function () use ($seed): void {
        $child = Child::script(__DIR__ . '/clients/torture.php', (string) $seed, '2000');
        same(0, $child->wait(120.0), 'exit status');
        $lines = explode("\n", trim($child->output));
        same('done', end($lines), 'last line');
    });
}

if (shell_exec('command -v valgrind')) {
    test('random use of the API makes no invalid memory access', function (): void {
        $log = tempnam(sys_get_temp_dir(), 'sprocket-valgrind');
        $child = new Child(
            ['valgrind', '--error-limit=no', "--log-file=$log", '@php@', '-d', 'pcre.jit=0', __DIR__ . '/clients/torture.php', '9', '500'],
            ['USE_ZEND_ALLOC' => '0', 'ZEND_DONT_UNLOAD_MODULES' => '1'],
        );
        $status = $child->wait(120.0);
        $report = preg_replace('/^==\d+== ?/m', '', file_get_contents($log));
        unlink($log);
        same(0, $status, 'exit status');
        check(!preg_match('/(Invalid (read|write|free)|uninitialised|Mismatched free)[^\0]{0,1500}/', $report, $m), $m[0] ?? '');
    });
} else {
    skip('random use of the API makes no invalid memory access', 'valgrind is not installed');
}
