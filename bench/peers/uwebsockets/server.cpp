// The µWebSockets server. Arguments: PORT echo|fan|chat|tls. See bench/README.md.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/resource.h>

#include "App.h"

struct Member {
    std::string room;
};

// An app is TemplatedApp<SSL>, and its sockets are WebSocket<SSL, …>.
template <bool SSL>
void serve(uWS::TemplatedApp<SSL> app, std::string_view mode, int port) {
    using Socket = uWS::WebSocket<SSL, true, Member>;
    app.template ws<Member>("/*", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 1024 * 1024,
        .idleTimeout = 120,
        .maxBackpressure = 16 * 1024 * 1024,
        .open = [&](Socket *socket) {
            if (mode == "fan") socket->subscribe("all");
        },
        .message = [&](Socket *socket, std::string_view payload, uWS::OpCode opcode) {
            if (mode == "echo" || mode == "tls") {
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
    app.listen("127.0.0.1", port, [](us_listen_socket_t *listener) {
        if (!listener) {
            std::fprintf(stderr, "cannot listen\n");
            std::exit(1);
        }
        std::printf("ready %d\n", us_socket_local_port(SSL, (us_socket_t *) listener));
        std::fflush(stdout);
    });
    app.run();
}

int main(int argc, char **argv) {
    std::string_view mode = argc > 2 ? argv[2] : "";
    if (mode != "echo" && mode != "fan" && mode != "chat" && mode != "tls") {
        std::fprintf(stderr, "arguments: PORT echo|fan|chat|tls\n");
        return 2;
    }
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    int port = std::atoi(argv[1]);
    if (mode != "tls") {
        serve<false>(uWS::App(), mode, port);
        return 0;
    }
#ifdef LIBUS_NO_SSL
    std::fprintf(stderr, "built without TLS\n");
    return 2;
#else
    serve<true>(uWS::SSLApp({
        .key_file_name = std::getenv("SPROCKET_BENCH_KEY"),
        .cert_file_name = std::getenv("SPROCKET_BENCH_CERTIFICATE"),
    }), mode, port);
#endif
}
