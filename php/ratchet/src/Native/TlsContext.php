<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Sprocket\InvalidOption;
use Sprocket\Tls;

/**
 * Translates the `ssl` context options of a React server for the native server.
 *
 * Options that only choose among ciphers and curves are ignored: the native server uses the secure ones
 * of TLS 1.2 and 1.3. Options that decide which clients are admitted are honoured, or React must serve the socket.
 */
final class TlsContext
{
    /** Seconds between checks of the files for changes: React reads them for each connection. */
    private const RELOAD_INTERVAL = 1.0;

    /** Options that need PHP's own TLS. */
    private const FOREIGN = ['peer_fingerprint', 'verify_peer_name', 'capture_peer_cert', 'capture_peer_cert_chain'];

    /** Options that need it where clients must have a certificate, and have no effect elsewhere. */
    private const FOREIGN_TO_VERIFY = ['capath', 'allow_self_signed', 'verify_depth'];

    /**
     * @param array<string, mixed> $context As passed to `React\Socket\SecureServer`.
     *
     * @return Tls|string The reason, for the log, if the native server does not support them.
     */
    public static function tls(array $context): Tls|string
    {
        $verify = !empty($context['verify_peer']);
        foreach ([...self::FOREIGN, ...($verify ? self::FOREIGN_TO_VERIFY : [])] as $name) {
            if (!empty($context[$name])) {
                return "the native server does not support the context option $name";
            }
        }
        $version = self::version($context);
        if ($version === null) {
            return 'the context allows no version after TLS 1.1';
        }
        $authority = $context['cafile'] ?? null;
        if ($verify && !is_string($authority)) {
            return 'the context has verify_peer without cafile';
        }
        try {
            $hosts = self::hosts($context);
            // A server of nothing but named hosts has no certificate for clients that name none.
            [$certificate, $key] = self::files($context) ?? array_values(self::named($context))[0] ?? [null, null];
            if ($certificate === null) {
                return 'the context has no certificate in local_cert';
            }

            return new Tls(
                $certificate,
                $key,
                (string) ($context['passphrase'] ?? '') === '' ? null : (string) $context['passphrase'],
                $hosts,
                $verify ? self::path($authority) : null,
                minVersion: $version,
                reloadInterval: self::RELOAD_INTERVAL,
            );
        } catch (InvalidOption $e) {
            return $e->getMessage();
        }
    }

    /**
     * The oldest version to accept; null if the context admits none after TLS 1.1.
     */
    private static function version(array $context): ?string
    {
        $new = STREAM_CRYPTO_METHOD_TLSv1_2_SERVER | STREAM_CRYPTO_METHOD_TLSv1_3_SERVER;
        $methods = $context['crypto_method'] ?? $new;
        $oldest = $context['min_proto_version'] ?? STREAM_CRYPTO_PROTO_TLSv1_2;
        $newest = $context['max_proto_version'] ?? STREAM_CRYPTO_PROTO_TLSv1_3;
        if (!is_int($methods) || ($methods & $new) === 0 || $newest < STREAM_CRYPTO_PROTO_TLSv1_2) {
            return null;
        }
        $newestOnly = ($methods & STREAM_CRYPTO_METHOD_TLSv1_2_SERVER) === 0;

        return $newestOnly || $oldest >= STREAM_CRYPTO_PROTO_TLSv1_3 ? '1.3' : '1.2';
    }

    /**
     * @return array<string, Tls> Certificates by host name.
     */
    private static function hosts(array $context): array
    {
        return array_map(static fn (array $files) => new Tls(...$files), self::named($context));
    }

    /**
     * @return array<string, array{string, string|null}> Files by host name.
     */
    private static function named(array $context): array
    {
        $named = [];
        foreach (($context['SNI_enabled'] ?? true) ? (array) ($context['SNI_server_certs'] ?? []) : [] as $host => $files) {
            $named[$host] = self::files(is_array($files) ? $files : ['local_cert' => $files]);
        }

        return array_filter($named);
    }

    /**
     * @return array{string, string|null}|null Certificate and key.
     */
    private static function files(array $context): ?array
    {
        $certificate = $context['local_cert'] ?? null;
        $key = $context['local_pk'] ?? null;

        return is_string($certificate) && $certificate !== ''
            ? [self::path($certificate), is_string($key) && $key !== '' ? self::path($key) : null]
            : null;
    }

    /**
     * An absolute path, because an application may change its directory before the loop runs. Symbolic
     * links are kept: certificates are renewed through them.
     */
    private static function path(string $path): string
    {
        return str_starts_with($path, '/') ? $path : getcwd() . "/$path";
    }
}
