<?php

declare(strict_types=1);

require_once __DIR__ . '/Certificates.php';
require_once __DIR__ . '/Floods.php';

/** A server with well-behaved clients, and flooders on demand. All of them end with this object. */
final class Flooded
{
    private readonly Child $server;
    private readonly Child $good;
    private readonly string $folder;
    public readonly string $ws;
    public readonly string $wss;

    public function __construct(Certificates $certificates, int $clients, float $rate)
    {
        $this->folder = sys_get_temp_dir() . '/sprocket-flooded-' . bin2hex(random_bytes(6));
        mkdir($this->folder, 0700);
        file_put_contents("$this->folder/index.html", str_repeat('<p>page</p>', 100));
        $tls = $certificates->issue('localhost', 'DNS:localhost,IP:127.0.0.1');
        $this->server = Child::script(__DIR__ . '/../servers/flooded.php', $tls['certificate'], $tls['key'], $this->folder);
        [$this->ws, $this->wss] = explode(' ', $this->server->line('~^ws://~'));
        $this->good = new Child([PHP_BINARY, '-n', __DIR__ . '/../clients/good.php', $this->ws, "$clients", "$rate"]);
        $this->good->line('/^open$/', 30.0);
    }

    public function __destruct()
    {
        unlink("$this->folder/index.html");
        rmdir($this->folder);
    }

    /** The measurements of the well-behaved clients since the last call. */
    public function mark(): array
    {
        fwrite($this->good->stdin, "mark\n");
        return json_decode($this->good->line('/^\{/', 30.0), true, flags: JSON_THROW_ON_ERROR);
    }

    /**
     * Floods the server. Returns the measurements of the well-behaved clients meanwhile, the number of
     * processor cores that the server used, and how the flooders' connections ended.
     */
    public function flood(string $name, int $flooders, float $seconds): array
    {
        $this->mark();
        $cpu = cpu_seconds($this->server->pid);
        $start = microtime(true);
        $script = __DIR__ . '/../clients/flood.php';
        $children = [];
        for ($i = 0; $i < $flooders; $i++) {
            // Real flooders run on other machines. Here they share the processor with the server and its
            // well-behaved clients, so a low priority lets those run first. PHP runs without -n, because its
            // TLS support may be a shared extension.
            $children[] = new Child(['nice', '-n', '19', PHP_BINARY, $script, $this->ws, $this->wss, $name, "$seconds"]);
        }
        $ends = [];
        $sent = 0;
        foreach ($children as $child) {
            $report = json_decode($child->line('/^\{/', $seconds + 30), true, flags: JSON_THROW_ON_ERROR);
            $sent += $report['sent'];
            foreach ($report['ends'] as $end => $times) {
                $ends[$end] = ($ends[$end] ?? 0) + $times;
            }
        }
        $passed = microtime(true) - $start;
        $used = (cpu_seconds($this->server->pid) - $cpu) / $passed;
        return $this->mark() + ['cores' => $used, 'sent' => $sent, 'ends' => $ends];
    }

    /** Server::stats(). */
    public function stats(): array
    {
        $http = preg_replace('~^ws~', 'http', $this->ws);
        return json_decode(file_get_contents("$http/stats"), true, flags: JSON_THROW_ON_ERROR);
    }
}
