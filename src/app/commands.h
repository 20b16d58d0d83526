// The commands of the program. Each gives the exit code: 0 done, 1 it failed, 2 it could not start (with one line on
// stderr that says what to do).
#pragma once

#include "app/options.h"

namespace shoal::app {

int run_up(const UpOptions& options);
int run_demo(const DemoOptions& options);
int run_ask(const AskOptions& options);
int run_status(const StatusOptions& options);
int run_keys(const KeysOptions& options);
int run_bench(const BenchOptions& options);
int run_plan(const PlanOptions& options);
int run_genesis(const GenesisOptions& options);

// "shoal: <message>" on stderr; gives 2.
int refuse(const Error& error);

}  // namespace shoal::app
