// The µWebSockets server. Arguments: PORT echo|fan|chat. See bench/README.md.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/resource.h>

#include "App.h"

struct Member {
    std::string room;
};

int main(int argc, char **argv) {
    std::string_view mode = argc > 2 ? argv[2] : "";
    if (mode != "echo" && mode != "fan" && mode != "chat") {
        std::fprintf(stderr, "arguments: PORT echo|fan|chat\n");
        return 2;
    }
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    uWS::App app;
    using Socket = uWS::WebSocket<false, true, Member>;
    app.ws<Member>("/*", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 1024 * 1024,
        .idleTimeout = 120,
        .maxBackpressure = 16 * 1024 * 1024,
        .open = [&](Socket *socket) {
            if (mode == "fan") socket->subscribe("all");
        },
        .message = [&](Socket *socket, std::string_view payload, uWS::OpCode opcode) {
            if (mode == "echo") {
                socket->send(payload, opcode);
            } else if (mode == "fan") {
                app.publish("all", payload, opcode);
            } else if (std::string &room = socket->getUserData()->room; room.empty()) {
                room = payload;
                socket->subscribe(room);
                socket->send(payload, opcode);
            } else {
                app.publish(room, payload, opcode);
            }
        },
    });
    app.listen("127.0.0.1", std::atoi(argv[1]), [](us_listen_socket_t *listener) {
        if (!listener) {
            std::fprintf(stderr, "cannot listen\n");
            std::exit(1);
        }
        std::printf("ready %d\n", us_socket_local_port(0, (us_socket_t *) listener));
        std::fflush(stdout);
    });
    app.run();
}
