#include "app/new_network.h"

#include "app/network_file.h"
#include "crypto/rng.h"
#include "crypto/sign.h"
#include "net/loop.h"
#include "store/files.h"

namespace shoal::app {

Result<NodeId> open_or_make_identity(const std::string& directory) {
    TRY(store::ensure_directory(directory));
    const std::string path = directory + "/identity.key";
    if (!store::file_exists(path)) {
        crypto::OsRng rng;
        const auto key = crypto::SigningKey::generate(rng);
        TRY(store::make_key(path, key.seed()));
    }
    const Key32 seed = TRY(store::read_key(path));
    return crypto::SigningKey::from_seed(seed).node_id();
}

Result<NewNetwork> make_network(const std::string& directory, const std::string& name, const std::string& text) {
    const auto address = wire::parse_address(text);
    if (!address) return fail(Errc::invalid, "--verifier-address: " + address.error().message);
    NewNetwork out;
    out.file = directory + "/network.toml";
    out.state_directory = directory + "/verifier";
    if (store::file_exists(out.file)) {
        return fail(Errc::invalid, out.file + " exists already; a network is made once (choose another --dir)");
    }
    TRY(store::ensure_directory(directory));
    const NodeId verifier = TRY(open_or_make_identity(out.state_directory));
    const net::Loop clock;
    out.genesis.name = name;
    out.genesis.created = clock.now().wall;
    out.genesis.verifiers.push_back({verifier, 1});
    out.genesis.bootstraps.push_back({verifier, *address});
    TRY(out.genesis.check());
    TRY(write_network_file(out.file, out.genesis));
    return out;
}

}  // namespace shoal::app
