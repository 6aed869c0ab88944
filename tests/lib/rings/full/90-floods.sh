# The effect of each kind of flood on other clients, with a limit; needs an otherwise idle machine

ring_alone=yes
ring_needs() { :; }

ring_run() { tap bench/floods 1800 bench/floods --limit 20; }
