// shoal: one program, all roles.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "app/commands.h"
#include "app/model_command.h"
#include "crypto/init.h"

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a peer that is gone is an error of that write, not the end of the process
    shoal::crypto::init();
    CLI::App app{"Shoal: private answers from large language models, over a network of volunteers.", "shoal"};
    shoal::app::Options options;
    app.set_version_flag("--version", "shoal " SHOAL_VERSION, "print the version and exit");
    app.failure_message([](const CLI::App*, const CLI::Error& e) {
        return std::string("shoal: ") + e.what() + " (see 'shoal --help')\n";
    });
    shoal::app::declare_options(app, options);
    shoal::app::ModelOptions model;
    shoal::app::declare_model(app, model);
    const shoal::Status configured = shoal::app::apply_config_file(app, argc, argv);
    if (!configured) return shoal::app::refuse(configured.error());
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        // Help is a success; anything else is a start that failed.
        return app.exit(e) == 0 ? 0 : 2;
    }
    if (app.got_subcommand("up")) return shoal::app::run_up(options.up);
    if (app.got_subcommand("demo")) return shoal::app::run_demo(options.demo);
    if (app.got_subcommand("ask")) return shoal::app::run_ask(options.ask);
    if (app.got_subcommand("status")) return shoal::app::run_status(options.status);
    if (app.got_subcommand("keys")) return shoal::app::run_keys(options.keys);
    if (app.got_subcommand("bench")) return shoal::app::run_bench(options.bench);
    if (app.got_subcommand("plan")) return shoal::app::run_plan(options.plan);
    if (app.got_subcommand("model")) return shoal::app::run_model(app, model);
    return shoal::app::run_genesis(options.genesis);
}
