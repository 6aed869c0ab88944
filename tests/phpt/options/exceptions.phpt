--TEST--
Each exception class extends the documented SPL class
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['InvalidOption' => 'InvalidArgumentException', 'InvalidPayload' => 'InvalidArgumentException', 'BindException' => 'RuntimeException',
    'ForkException' => 'RuntimeException', 'StateException' => 'LogicException', 'WorkerException' => 'RuntimeException'] as $class => $parent) {
    $r = new ReflectionClass("Sprocket\\$class");
    echo $class, ' ', $r->getParentClass()->name === $parent ? 'right' : 'wrong', ' ',
        $r->implementsInterface('Sprocket\Exception') ? 'shared' : '', ' ', $r->isFinal() ? 'final' : '', "\n";
}
--EXPECT--
InvalidOption right shared final
InvalidPayload right shared final
BindException right shared final
ForkException right shared final
StateException right shared final
WorkerException right shared final
