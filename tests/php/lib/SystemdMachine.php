<?php

declare(strict_types=1);

/** A machine in separate namespaces, whose first process is systemd; see systemd-machine.sh. */
final class SystemdMachine
{
    public readonly string $folder;
    private ?Child $machine = null;
    private int $init = 0;

    public function __construct()
    {
        $this->folder = sys_get_temp_dir() . '/sprocket-systemd-' . bin2hex(random_bytes(6));
        array_map(fn (string $name) => mkdir("$this->folder/$name", 0755, true), ['etc/systemd/system', 'srv', 'extensions']);
    }

    /** The reason why such a machine cannot run here, or null. */
    public static function missing(): ?string
    {
        if (posix_geteuid() !== 0) {
            return 'namespaces need root';
        }
        exec('unshare --mount --pid --fork --cgroup --ipc --uts true 2>&1', $output, $status);
        return $status === 0 ? null : 'no namespaces: ' . implode(' ', $output);
    }

    /** Writes a file of the machine, below /etc, /srv, or `extensions`. */
    public function file(string $path, string $text, int $mode = 0644): void
    {
        $path = "$this->folder/" . ltrim($path, '/');
        is_dir(dirname($path)) || mkdir(dirname($path), 0755, true);
        file_put_contents($path, $text);
        chmod($path, $mode);
    }

    public function boot(): void
    {
        $this->machine = new Child([
            'unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--cgroup', '--ipc', '--uts',
            __DIR__ . '/systemd-machine.sh', $this->folder,
        ]);
        until(function (): bool {
            $this->machine->isRunning() || throw new RuntimeException("systemd did not start: {$this->machine->output}");
            $this->machine->take();
            $this->init = (int) @file_get_contents("/proc/{$this->machine->pid}/task/{$this->machine->pid}/children");
            return $this->init > 0 && $this->try('systemctl', 'is-system-running')[0] === 0;
        }, 'systemd is running', 30);
    }

    /** Runs a command on the machine, and throws if it fails. */
    public function run(string ...$command): string
    {
        [$status, $output] = $this->try(...$command);
        $status === 0 || throw new RuntimeException(implode(' ', $command) . ": $output\n" . $this->describe());
        return $output;
    }

    /** @return array{int, string} Exit status and output. */
    public function try(string ...$command): array
    {
        $command = ['nsenter', '-t', (string) $this->init, '-m', '-p', '--', ...$command];
        exec(implode(' ', array_map('escapeshellarg', $command)) . ' 2>&1', $output, $status);
        return [$status, implode("\n", $output)];
    }

    /** A property of a unit, in the notation of `systemctl show`. */
    public function property(string $unit, string $name): string
    {
        return $this->run('systemctl', 'show', '--value', '--property', $name, $unit);
    }

    /** The state of the service, and its output. */
    public function describe(): string
    {
        $names = 'ActiveState,SubState,Result,ExecMainCode,ExecMainStatus';
        $state = $this->try('systemctl', 'show', '--property', $names, 'chat.service')[1];
        return str_replace("\n", ' ', $state) . "\n" . $this->try('cat', '/run/service.log')[1];
    }

    public function __destruct()
    {
        if ($this->machine?->isRunning()) {
            $this->try('systemctl', 'stop', 'chat.socket', 'chat.service');
            $this->machine->signal(9); // kills the first process, and with it all others
            until(fn (): bool => !$this->machine->isRunning(), 'the end of the machine');
        }
        exec('rm -rf ' . escapeshellarg($this->folder));
    }
}
