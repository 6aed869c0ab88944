<?php

declare(strict_types=1);

/**
 * nginx in front of php-fpm, on a free port and a Unix socket. Their configuration lies in a temporary
 * folder, which the destructor removes. php-fpm loads the extension.
 */
final class WebServer
{
    public readonly string $folder;
    public readonly string $url;
    private readonly Child $fpm;
    private readonly Child $nginx;

    private function __construct(string $nginx, string $fpm, string $script, int $children)
    {
        $this->folder = sys_get_temp_dir() . '/sprocket-web-' . bin2hex(random_bytes(6));
        mkdir($this->folder, 0755);
        copy($script, "$this->folder/index.php");
        chmod("$this->folder/index.php", 0644);
        [$asRoot, $user] = self::user();

        file_put_contents("$this->folder/fpm.conf", <<<INI
            [global]
            error_log = $this->folder/fpm.log
            daemonize = no
            [www]
            $user
            listen = $this->folder/fpm.sock
            listen.mode = 0666
            pm = static
            pm.max_children = $children
            clear_env = no
            php_admin_flag[display_errors] = on
            INI);
        $extension = getenv('SPROCKET_SO');
        $settings = $extension ? ['-n', '-d', "extension=$extension"] : [];
        $this->fpm = new Child([$fpm, ...$settings, '-F', ...$asRoot, '-y', "$this->folder/fpm.conf"]);
        until(function (): bool {
            check($this->fpm->take(), "php-fpm ended: {$this->fpm->output}" . @file_get_contents("$this->folder/fpm.log"));
            return file_exists("$this->folder/fpm.sock");
        }, 'php-fpm listens');

        $port = self::freePort();
        $workers = $asRoot ? 'user root;' : '';
        file_put_contents("$this->folder/nginx.conf", <<<CONF
            $workers
            daemon off;
            worker_processes 1;
            pid $this->folder/nginx.pid;
            error_log $this->folder/nginx.log;
            events { worker_connections 100; }
            http {
                access_log off;
                client_body_temp_path $this->folder/body;
                fastcgi_temp_path $this->folder/fastcgi;
                proxy_temp_path $this->folder/proxy;
                uwsgi_temp_path $this->folder/uwsgi;
                scgi_temp_path $this->folder/scgi;
                server {
                    listen 127.0.0.1:$port;
                    location / {
                        fastcgi_pass unix:$this->folder/fpm.sock;
                        fastcgi_param SCRIPT_FILENAME $this->folder/index.php;
                        fastcgi_param REQUEST_METHOD \$request_method;
                        fastcgi_param QUERY_STRING \$query_string;
                        fastcgi_param CONTENT_TYPE \$content_type;
                        fastcgi_param CONTENT_LENGTH \$content_length;
                    }
                }
            }
            CONF);
        $this->nginx = new Child([$nginx, '-c', "$this->folder/nginx.conf", '-e', "$this->folder/nginx.log"]);
        $this->url = "http://127.0.0.1:$port/";
        until(function () use ($port): bool {
            check($this->nginx->take(), 'nginx ended: ' . $this->nginx->output . @file_get_contents("$this->folder/nginx.log"));
            return (bool) @stream_socket_client("tcp://127.0.0.1:$port", timeout: 1);
        }, 'nginx listens');
    }

    /** Returns null, and the reason in $missing, if a program is missing. */
    public static function start(string $script, int $children, ?string &$missing): ?self
    {
        $nginx = self::program(['nginx'], fn (): bool => true);
        $fpm = self::program(
            ['php-fpm' . PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION, 'php-fpm'],
            fn (string $fpm): bool => str_contains(
                (string) shell_exec(escapeshellarg($fpm) . ' -n -v 2>/dev/null'),
                'PHP ' . PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION . '.',
            ),
        );
        $missing = match (null) {
            $nginx => 'there is no nginx',
            $fpm => 'there is no php-fpm for this version of PHP',
            default => null,
        };
        return $missing === null ? new self($nginx, $fpm, $script, $children) : null;
    }

    /** The user of the pool's PHP processes, or null if it is the user of this process. */
    public static function poolUser(): ?string
    {
        $known = preg_match('/^www-data:/m', file_get_contents('/etc/passwd')) === 1;
        return self::isRoot() && $known ? 'www-data' : null;
    }

    /** Works without the extension posix. */
    private static function isRoot(): bool
    {
        return fileowner('/proc/self/') === 0;
    }

    /** @return array{list<string>, string} */
    private static function user(): array
    {
        return match (true) {
            self::poolUser() !== null => [['-R'], "user = www-data\ngroup = www-data"],
            self::isRoot() => [['-R'], "user = root\ngroup = root"],
            default => [[], ''],
        };
    }

    private static function program(array $names, callable $fits): ?string
    {
        foreach ($names as $name) {
            foreach ([...explode(':', getenv('PATH') ?: ''), '/usr/sbin', '/usr/local/sbin'] as $folder) {
                if (is_executable("$folder/$name") && $fits("$folder/$name")) {
                    return "$folder/$name";
                }
            }
        }
        return null;
    }

    private static function freePort(): int
    {
        $probe = stream_socket_server('tcp://127.0.0.1:0');
        return (int) substr(strrchr(stream_socket_get_name($probe, false), ':'), 1);
    }

    /** Sends a POST request, and returns its status and body. */
    public function post(array $fields): array
    {
        $body = @file_get_contents($this->url, false, stream_context_create(['http' => [
            'method' => 'POST',
            'header' => 'Content-Type: application/x-www-form-urlencoded',
            'content' => http_build_query($fields),
            'ignore_errors' => true,
            'timeout' => 10,
        ]]));
        check($body !== false, 'no answer from nginx');
        return [(int) explode(' ', $http_response_header[0])[1], $body];
    }

    public function __destruct()
    {
        foreach ([$this->nginx ?? null, $this->fpm ?? null] as $child) {
            if ($child?->isRunning()) {
                $child->signal(15);
                $child->wait();
            }
        }
        foreach (array_reverse(glob("$this->folder/{*,*/*}", GLOB_BRACE)) as $file) {
            is_dir($file) ? @rmdir($file) : @unlink($file);
        }
        @rmdir($this->folder);
    }
}
