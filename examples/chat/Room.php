<?php

declare(strict_types=1);

use Sprocket\Connection;

/** The members of the room and its recent messages. Independent of HTTP and of the server. */
final class Room
{
    private const HISTORY = 50;         // messages that a newcomer gets to see
    private const NAME_LENGTH = 32;     // characters
    private const TEXT_LENGTH = 2000;   // characters
    private const BURST = 10;           // messages that somebody may send at once …
    private const PER_SECOND = 2;       // … and how many more in each second

    /** @var array<int, Connection> who has joined, by connection id; the name is in Connection::$data */
    private array $people = [];

    /** @var list<array<string, mixed>> */
    private array $history = [];

    private int $said = 0;

    /** Tells messages of this run from those of an earlier one. */
    private readonly string $epoch;

    public function __construct()
    {
        $this->epoch = bin2hex(random_bytes(4));
    }

    /** Enters the room, or changes the name of somebody who is in it. */
    public function join(Connection $connection, mixed $name, bool $again = false): void
    {
        $name = self::clean($name, self::NAME_LENGTH, singleLine: true);
        if ($name === '') {
            $connection->close(1008, 'A name is needed');
            return;
        }
        $id = $connection->id;
        $new = !isset($this->people[$id]);
        if ($new) {
            $connection->data = (object) ['name' => '', 'tokens' => self::BURST, 'since' => microtime(true)];
        }
        $connection->data->name = $this->unused($name, $id);
        $this->people[$id] = $connection;

        self::tell($connection, [
            'type' => 'welcome',
            'you' => $id,
            'people' => array_map(
                fn (Connection $c): array => ['id' => $c->id, 'name' => $c->data->name],
                array_values($this->people),
            ),
            'history' => $this->history,
        ]);
        $this->tellAll(
            ['type' => 'joined', 'id' => $id, 'name' => $connection->data->name, 'again' => $again || !$new],
            except: $connection,
        );
    }

    public function say(Connection $connection, mixed $text): void
    {
        $text = self::clean($text, self::TEXT_LENGTH);
        if ($text === '' || !isset($this->people[$connection->id])) {
            return;
        }
        if (!self::mayTalk($connection->data)) {
            self::tell($connection, ['type' => 'too-fast']);
            return;
        }
        $message = [
            'type' => 'message',
            'key' => $this->epoch . '-' . ++$this->said,
            'id' => $connection->id,
            'name' => $connection->data->name,
            'text' => $text,
            'at' => (int) (microtime(true) * 1000),
        ];
        $this->history = array_slice([...$this->history, $message], -self::HISTORY);
        $this->tellAll($message);
    }

    public function leave(Connection $connection): void
    {
        if (isset($this->people[$connection->id])) {
            unset($this->people[$connection->id]);
            $this->tellAll(['type' => 'left', 'id' => $connection->id]);
        }
    }

    /** "Ada", then "Ada 2", "Ada 3", … */
    private function unused(string $name, int $except): string
    {
        $taken = [];
        foreach ($this->people as $id => $connection) {
            if ($id !== $except) {
                $taken[$connection->data->name] = true;
            }
        }
        $candidate = $name;
        for ($n = 2; isset($taken[$candidate]); $n++) {
            $candidate = "$name $n";
        }
        return $candidate;
    }

    /** A token bucket. */
    private static function mayTalk(object $data): bool
    {
        $now = microtime(true);
        $data->tokens = min(self::BURST, $data->tokens + ($now - $data->since) * self::PER_SECOND);
        $data->since = $now;
        if ($data->tokens < 1) {
            return false;
        }
        $data->tokens--;
        return true;
    }

    /** At most $length characters, without control and direction-changing characters. */
    private static function clean(mixed $text, int $length, bool $singleLine = false): string
    {
        if (!is_string($text)) {
            return '';
        }
        $text = preg_replace($singleLine ? '/\s+/u' : '/\r\n?/', $singleLine ? ' ' : "\n", $text);
        $text = preg_replace('/(?!\n)\p{Cc}|[\x{202a}-\x{202e}\x{2066}-\x{2069}]/u', '', $text);
        preg_match('/^.{0,' . $length . '}/us', trim($text), $start);
        return trim($start[0]);
    }

    private function tellAll(array $message, ?Connection $except = null): void
    {
        $json = self::encode($message);
        foreach ($this->people as $connection) {
            if ($connection !== $except) {
                $connection->send($json);
            }
        }
    }

    private static function tell(Connection $connection, array $message): void
    {
        $connection->send(self::encode($message));
    }

    private static function encode(array $message): string
    {
        return json_encode($message, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
    }
}
