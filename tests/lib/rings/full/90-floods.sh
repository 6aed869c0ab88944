# What floods of each kind cost others, with a limit: wants a machine that does nothing else

ring_alone=yes
ring_needs() { :; }

ring_run() { tap bench/floods 1800 bench/floods --limit 20; }
