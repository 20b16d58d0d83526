#include "app/network_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include "store/files.h"

namespace shoal::app {
namespace {

constexpr std::size_t network_file_bytes_max = 256 * 1024;

Result<NodeId> read_id(const toml::node_view<const toml::node>& node, const std::string& where) {
    const auto text = node.value<std::string>();
    const auto bytes = text ? from_hex(*text) : std::nullopt;
    if (!bytes || bytes->size() != NodeId::size) {
        return fail(Errc::malformed, where + ": id must be 64 hexadecimal digits");
    }
    return NodeId(first_bytes<NodeId::size>(*bytes));
}

Status read_verifiers(const toml::table& table, const std::string& path, directory::Genesis& out) {
    const toml::array* verifiers = table["verifier"].as_array();
    if (verifiers == nullptr) return fail(Errc::malformed, path + ": no [[verifier]]");
    for (const toml::node& node : *verifiers) {
        const toml::table* entry = node.as_table();
        if (entry == nullptr) return fail(Errc::malformed, path + ": [[verifier]] must be tables");
        const auto weight = (*entry)["weight"].value<std::int64_t>().value_or(1);
        if (weight < 1 || weight > UINT32_MAX) return fail(Errc::invalid, path + ": [[verifier]]: weight out of range");
        out.verifiers.push_back(
            {TRY(read_id((*entry)["id"], path + ": [[verifier]]")), static_cast<std::uint32_t>(weight)});
    }
    return ok();
}

Status read_bootstraps(const toml::table& table, const std::string& path, directory::Genesis& out) {
    const toml::array* bootstraps = table["bootstrap"].as_array();
    if (bootstraps == nullptr) return fail(Errc::malformed, path + ": no [[bootstrap]]: nobody to ask first");
    for (const toml::node& node : *bootstraps) {
        const toml::table* entry = node.as_table();
        if (entry == nullptr) return fail(Errc::malformed, path + ": [[bootstrap]] must be tables");
        const auto text = (*entry)["address"].value<std::string>().value_or("");
        const auto address = wire::parse_address(text);
        if (!address) return fail(Errc::malformed, path + ": [[bootstrap]]: address must be like 192.0.2.7:9142");
        out.bootstraps.push_back({TRY(read_id((*entry)["id"], path + ": [[bootstrap]]")), *address});
    }
    return ok();
}

}  // namespace

Result<directory::Genesis> read_network_file(const std::string& path) {
    auto bytes = store::read_file(path, network_file_bytes_max);
    if (!bytes && bytes.error().code == Errc::not_found) {
        return fail(Errc::not_found,
                    fmt::format("no network file at {}: get the network.toml of the network you want to "
                                "join, or make a network of your own with 'shoal genesis'",
                                path));
    }
    if (!bytes) return bytes.error();
    toml::table table;
    try {
        table = toml::parse(as_text(*bytes), path);
    } catch (const toml::parse_error& e) {
        return fail(Errc::malformed, fmt::format("{}:{}: {}", path, e.source().begin.line, e.description()));
    }
    directory::Genesis out;
    out.name = table["name"].value<std::string>().value_or("");
    const auto created = table["created"].value<std::int64_t>();
    if (!created || *created < 0) return fail(Errc::malformed, path + ": created must be the time in seconds");
    out.created = from_unix_seconds(static_cast<std::uint64_t>(*created));
    const toml::table& view = table;
    TRY(read_verifiers(view, path, out));
    TRY(read_bootstraps(view, path, out));
    const Status sound = out.check();
    if (!sound) return fail(sound.error().code, path + ": " + sound.error().message);
    return out;
}

Status write_network_file(const std::string& path, const directory::Genesis& genesis) {
    std::string text = fmt::format(
        "# The trust anchor of a Shoal network: who signs its directory, and whom to ask first.\n"
        "# Network id {}\n"
        "name = \"{}\"\ncreated = {}\n",
        genesis.network().hex(), genesis.name, unix_seconds(genesis.created));
    for (const auto& verifier : genesis.verifiers) {
        text += fmt::format("\n[[verifier]]\nid = \"{}\"\nweight = {}\n", verifier.id.hex(), verifier.weight);
    }
    for (const auto& bootstrap : genesis.bootstraps) {
        text += fmt::format("\n[[bootstrap]]\nid = \"{}\"\naddress = \"{}\"\n", bootstrap.id.hex(),
                            bootstrap.address.text());
    }
    return store::write_file_atomic(path, as_bytes(text), 0644);
}

}  // namespace shoal::app
