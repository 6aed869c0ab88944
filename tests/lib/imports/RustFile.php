<?php

declare(strict_types=1);

namespace Imports;

/**
 * The modules, items, imports and paths of one Rust source file.
 *
 * This is a scanner for code formatted by rustfmt, not a parser. It first blanks comments, literals, and
 * code compiled only for tests or fuzz targets; offsets and line numbers stay the same.
 */
final class RustFile
{
    /** @var list<Module> The module of the file, followed by inline modules. */
    public array $modules = [];

    /** @var list<array{string, ?string, Module}> `mod NAME;`: the name, its `#[path]`, the parent. */
    public array $declared = [];

    /** @var list<array{list<string>, int, Module}> Paths outside `use`: segments, line, module. */
    public array $paths = [];

    private string $code;

    public function __construct(public readonly string $name, private readonly string $text, Module $module)
    {
        $this->modules[] = $module;
        $this->code = self::withoutTests(self::withoutText($text));
        $this->scan();
    }

    /** The inner doc comment at the top of the file, without its markers. */
    public static function documentation(string $text): string
    {
        preg_match_all('~^//! ?(.*)$~m', $text, $lines);
        return implode("\n", $lines[1]);
    }

    /** Blanks comments, and string and character literals. */
    private static function withoutText(string $text): string
    {
        $pattern = '~//[^\n]*'
            . '|(?<block>/\*(?:[^/*]|/(?!\*)|\*(?!/)|(?&block))*\*/)'
            . '|\b[bc]?r(?<hash>\#*)".*?"\k<hash>'
            . '|"(?:[^"\\\\]|\\\\.)*"'
            . "|'(?:[^'\\\\\n]|\\\\[^\n]+?)'~s";
        return preg_replace_callback($pattern, self::blank(...), $text)
            ?? throw new \RuntimeException(preg_last_error_msg());
    }

    /** Blanks each item behind `#[cfg(test)]` or a similar attribute. */
    private static function withoutTests(string $code): string
    {
        if (preg_match('~^\s*#!\[cfg\(\s*(?:test|fuzzing)~m', $code)) {
            return self::blank([$code]);
        }
        $from = 0;
        while (preg_match('~#\[cfg\(([^\]]*)\)\]~', $code, $match, PREG_OFFSET_CAPTURE, $from)) {
            [$attribute, $start] = $match[0];
            $from = $start + strlen($attribute);
            if (!preg_match('~\b(?:test|fuzzing)\b~', $match[1][0]) || str_contains($match[1][0], 'not(')) {
                continue;
            }
            $end = self::endOfItem($code, $from);
            $code = substr_replace($code, self::blank([substr($code, $start, $end - $start)]), $start, $end - $start);
        }
        return $code;
    }

    /** The offset after the item, statement, field or match arm at $at, including its attributes. */
    private static function endOfItem(string $code, int $at): int
    {
        preg_match('~\G(?:\s*#\[[^\]]*\])*\s*~', $code, $space, 0, $at);
        $at += strlen($space[0]);
        $item = 'pub|use|mod|fn|impl|struct|enum|trait|type|const|static|unsafe|async|extern|let|macro_rules';
        $isItem = preg_match("~\\G(?:$item)\\b~", $code, $_, 0, $at) === 1;
        $isUse = preg_match('~\G(?:pub(?:\([^)]*\))?\s+)?(?:use|extern\s+crate)\b~', $code, $_, 0, $at) === 1;
        for ($depth = 0, $length = strlen($code); $at < $length; $at++) {
            $char = $code[$at];
            if ($depth === 0 && ($char === ';' || ($char === ',' && !$isItem))) {
                return $at + 1;
            }
            if (str_contains('([{', $char)) {
                $depth++;
            } elseif (str_contains(')]}', $char)) {
                if (--$depth < 0) {
                    return $at;
                }
                if ($depth === 0 && $char === '}' && !$isUse) {
                    return $at + 1;
                }
            }
        }
        return $length;
    }

    private function scan(): void
    {
        $pattern = '~(?<use>\b(?:pub(?:\([^)]*\))?\s+)?use\s+(?=[\w:{$*])(?<tree>[^;]+);)'
            . '|\bmod\s+(?<mod>\w+)\s*(?<form>[;{])'
            . '|\b(?:fn|struct|enum|union|trait|type|const(?!\s+(?:fn|unsafe|async|extern)\b)|static(?:\s+mut)?|macro_rules!)'
            . '\s+(?<item>\w+)'
            . '|(?<brace>[{}])~';
        preg_match_all($pattern, $this->code, $found, PREG_SET_ORDER | PREG_OFFSET_CAPTURE | PREG_UNMATCHED_AS_NULL);
        $stack = [$this->modules[0]]; // null for a block that is not a module
        $ranges = [];
        foreach ($found as $match) {
            $module = end($stack);
            [, $offset] = $match[0];
            if ($match['use'][0] !== null) {
                $owner = $this->nearest($stack);
                foreach (self::useTree($match['tree'][0]) as [$path, $alias]) {
                    $owner->imports[] = new Import($path, $alias, $this->line($offset));
                }
                $length = strlen($match['use'][0]);
                $this->code = substr_replace($this->code, self::blank([$match['use'][0]]), $offset, $length);
            } elseif ($match['mod'][0] !== null) {
                if ($match['form'][0] === ';') {
                    $this->declared[] = [$match['mod'][0], $this->pathAttribute($offset), $this->nearest($stack)];
                    continue;
                }
                $inline = new Module($match['mod'][0], $this->name, $this->nearest($stack));
                $this->modules[] = $stack[] = $inline;
                $ranges[] = [$offset, PHP_INT_MAX, $inline];
            } elseif ($match['item'][0] !== null) {
                if ($module !== null) {
                    $module->items[$match['item'][0]] = true;
                }
            } elseif ($match['brace'][0] === '{') {
                $stack[] = null;
            } else {
                array_pop($stack);
                foreach ($ranges as &$range) {
                    if ($range[2] === $module) {
                        $range[1] = $offset;
                    }
                }
                unset($range);
            }
        }
        $this->readPaths($ranges);
    }

    /** @param list<array{int, int, Module}> $ranges Offsets of inline modules. */
    private function readPaths(array $ranges): void
    {
        preg_match_all('~(?<![\w:.])\$?[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+~', $this->code, $found, PREG_OFFSET_CAPTURE);
        foreach ($found[0] as [$path, $offset]) {
            $module = $this->modules[0];
            foreach ($ranges as [$from, $to, $inline]) {
                $module = $from < $offset && $offset < $to ? $inline : $module;
            }
            $this->paths[] = [self::segments($path), $this->line($offset), $module];
        }
    }

    /** @return list<array{list<string>, ?string}> Path and name of each leaf; a glob has no name. */
    private static function useTree(string $tree, array $prefix = []): array
    {
        $tree = trim($tree);
        if (preg_match('~^(?<head>[^{]*)\{(?<group>.*)\}$~s', $tree, $match)) {
            $leaves = [];
            $prefix = [...$prefix, ...self::segments($match['head'])];
            foreach (self::splitGroup($match['group']) as $part) {
                array_push($leaves, ...self::useTree($part, $prefix));
            }
            return $leaves;
        }
        $alias = preg_match('~\s+as\s+(\w+)$~', $tree, $match) ? $match[1] : null;
        $path = [...$prefix, ...self::segments(preg_replace('~\s+as\s+\w+$~', '', $tree))];
        if (end($path) === 'self' && count($path) > 1) {
            array_pop($path);
        }
        if (end($path) === '*') {
            array_pop($path);
            return [[$path, null]];
        }
        return [[$path, $alias ?? end($path)]];
    }

    /** @return list<string> The parts between commas outside braces. */
    private static function splitGroup(string $group): array
    {
        preg_match_all('~(?:[^,{}]|(\{(?:[^{}]|(?1))*\}))+~', $group, $parts);
        return array_filter(array_map('trim', $parts[0]), 'strlen');
    }

    /** @return list<string> */
    private static function segments(string $path): array
    {
        $parts = array_map('trim', explode('::', str_replace('$crate', 'crate', $path)));
        return array_values(array_filter($parts, 'strlen'));
    }

    private function pathAttribute(int $offset): ?string
    {
        $before = substr($this->text, 0, $offset);
        return preg_match('~#\[path\s*=\s*"([^"]+)"\]\s*(?:pub(?:\([^)]*\))?\s+)?$~', $before, $match) ? $match[1] : null;
    }

    /** @param list<?Module> $stack */
    private function nearest(array $stack): Module
    {
        $modules = array_filter($stack);
        return end($modules) ?: $this->modules[0];
    }

    private function line(int $offset): int
    {
        return substr_count($this->text, "\n", 0, $offset) + 1;
    }

    /** @param array<string> $match */
    private static function blank(array $match): string
    {
        return preg_replace('~[^\n]~', ' ', $match[0]);
    }
}

/** A module, either a file or inline. */
final class Module
{
    /** @var array<string, Module> */
    public array $children = [];

    /** @var array<string, true> Names of the items that the module defines. */
    public array $items = [];

    /** @var list<Import> */
    public array $imports = [];

    public function __construct(
        public readonly string $name,
        public readonly string $file,
        public readonly ?Module $parent,
    ) {
        if ($parent !== null) {
            $parent->children[$name] = $this;
        }
    }
}

/** One leaf of a `use` declaration. */
final class Import
{
    /** @param list<string> $path
     *  @param ?string $name The name in the importing module, null for a glob. */
    public function __construct(
        public readonly array $path,
        public readonly ?string $name,
        public readonly int $line,
    ) {
    }
}
