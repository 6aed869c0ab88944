<?php

declare(strict_types=1);

/** A certificate authority made with openssl in a temporary folder, which the destructor removes. */
final class Certificates
{
    public readonly string $folder;
    public readonly string $ca;

    public function __construct()
    {
        $this->folder = sys_get_temp_dir() . '/sprocket-certificates-' . bin2hex(random_bytes(6));
        mkdir($this->folder, 0700);
        $this->ca = "$this->folder/ca.pem";
        $this->openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-keyout', "$this->folder/ca.key", '-out', $this->ca, '-subj', '/CN=Test CA', '-days', '3650',
            '-addext', 'keyUsage=critical,keyCertSign');
    }

    public function __destruct()
    {
        exec('rm -rf ' . escapeshellarg($this->folder));
    }

    /**
     * Issues a certificate for a host or a client, valid from now, or between two times in OpenSSL's format.
     *
     * @return array{certificate: string, key: string} File names for Sprocket\Tls.
     */
    public function issue(string $host, string $names = '', ?string $from = null, ?string $until = null): array
    {
        $base = "$this->folder/" . bin2hex(random_bytes(6));
        $names = $names ?: "DNS:$host";
        file_put_contents("$base.conf", <<<CONF
            [ca]
            default_ca = test
            [test]
            database = $base.index
            serial = $base.serial
            new_certs_dir = $this->folder
            default_md = sha256
            policy = any
            x509_extensions = ext
            unique_subject = no
            [any]
            commonName = supplied
            [ext]
            subjectAltName = $names
            CONF);
        touch("$base.index");
        file_put_contents("$base.serial", bin2hex("\x01" . random_bytes(6)));
        $this->openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
            '-keyout', "$base.key", '-out', "$base.csr", '-subj', "/CN=$host");
        $dates = $from === null ? ['-days', '30'] : ['-startdate', $from, '-enddate', $until];
        $this->openssl('ca', '-batch', '-notext', '-config', "$base.conf", '-cert', $this->ca,
            '-keyfile', "$this->folder/ca.key", '-in', "$base.csr", '-out', "$base.pem", ...$dates);
        return ['certificate' => "$base.pem", 'key' => "$base.key"];
    }

    /** Runs openssl, and throws if it fails. */
    public function openssl(string ...$arguments): string
    {
        exec('openssl ' . implode(' ', array_map('escapeshellarg', $arguments)) . ' 2>&1 </dev/null', $output, $status);
        $status === 0 || throw new RuntimeException("openssl $arguments[0]: " . implode("\n", $output));
        return implode("\n", $output);
    }
}
