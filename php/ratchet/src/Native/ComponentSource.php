<?php

declare(strict_types=1);

namespace Ratchet\Native;

/**
 * Identifiers and string literals in the source of an application's class, its parent classes and
 * traits, or of one method. Source of this package is left out.
 */
final class ComponentSource
{
    /** @var array<class-string, self> */
    private static array $known = [];

    /** @var array<string, true> Identifiers, the last part of qualified names. */
    private array $names = [];

    /** @var list<string> Literals without their quotes. */
    private array $literals = [];

    /** @var array<string, true> Static calls, as `parent::onopen`. */
    private array $calls = [];

    public static function of(string $class): self
    {
        if (!isset(self::$known[$class])) {
            self::$known[$class] = $source = new self();
            for ($reflection = new \ReflectionClass($class); $reflection; $reflection = $reflection->getParentClass()) {
                $source->add($reflection);
            }
        }

        return self::$known[$class];
    }

    public static function ofMethod(string $class, string $method): self
    {
        $source = new self();
        $source->add(new \ReflectionMethod($class, $method));

        return $source;
    }

    /**
     * @param string ...$patterns Regular expressions of whole names.
     */
    public function names(string ...$patterns): bool
    {
        return preg_grep('~^(' . implode('|', $patterns) . ')$~', array_keys($this->names)) !== [];
    }

    public function contains(string $pattern): bool
    {
        return preg_grep($pattern, $this->literals) !== [];
    }

    public function calls(string $class, string $method): bool
    {
        return isset($this->calls[strtolower("$class::$method")]);
    }

    private function add(\ReflectionClass|\ReflectionMethod $part): void
    {
        $file = $part->getFileName();
        if ($file === false || str_starts_with($file, dirname(__DIR__) . '/') || !is_readable($file)) {
            return;
        }
        if ($part instanceof \ReflectionClass) {
            foreach ($part->getTraits() as $trait) {
                $this->add($trait);
            }
        }
        $lines = array_slice(file($file), $part->getStartLine() - 1, $part->getEndLine() - $part->getStartLine() + 1);
        $this->read('<?php ' . implode('', $lines));
    }

    private function read(string $code): void
    {
        if (!class_exists(\PhpToken::class)) {
            // Without ext-tokenizer, words in comments count as well.
            preg_match_all('~\w+~', $code, $words);
            $this->names += array_fill_keys($words[0], true);
            preg_match_all('~([\'"])(.*?)\1~s', $code, $literals);
            array_push($this->literals, ...$literals[2]);
            preg_match_all('~(\w+)\s*::\s*(\w+)\s*\(~', strtolower($code), $calls, PREG_SET_ORDER);
            foreach ($calls as [, $of, $method]) {
                $this->calls["$of::$method"] = true;
            }

            return;
        }
        $before = ['', ''];
        foreach (\PhpToken::tokenize($code) as $token) {
            if ($token->isIgnorable()) {
                continue;
            }
            if ($token->is([T_CONSTANT_ENCAPSED_STRING, T_ENCAPSED_AND_WHITESPACE])) {
                $this->literals[] = trim($token->text, '\'"');
            } elseif ($token->is([T_STRING, T_NAME_QUALIFIED, T_NAME_FULLY_QUALIFIED, T_NAME_RELATIVE])) {
                $this->names[substr(strrchr("\\$token->text", '\\'), 1)] = true;
                if ($before[1] === '::') {
                    $this->calls[strtolower("$before[0]::$token->text")] = true;
                }
            }
            $before = [$before[1], $token->text];
        }
    }
}
