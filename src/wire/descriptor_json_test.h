// Descriptors as fields of a vector, for the tests of descriptors and snapshots.
#pragma once

#include "wire/descriptor.h"
#include "wire/vectors_test.h"

namespace shoal::wire {

inline Json descriptor_json(const Descriptor& d) {
    Json addresses = Json::array();
    for (const Address& a : d.addresses) addresses.push_back(a.text());
    Json models = Json::array();
    for (const OfferedModel& m : d.models) {
        models.push_back({{"model", m.model.hex()},
                          {"quantisation", m.quantisation},
                          {"context_tokens", m.context_tokens},
                          {"price", to_hex(m.price)},
                          {"name", m.name}});
    }
    return {{"node", d.node.hex()},
            {"onion_key", to_hex(d.onion_key)},
            {"hpke_key", to_hex(d.hpke_key)},
            {"roles", d.roles},
            {"addresses", addresses},
            {"sequence", d.sequence},
            {"valid_after", unix_seconds(d.valid_after)},
            {"valid_until", unix_seconds(d.valid_until)},
            {"bond", d.bond},
            {"family", d.family.hex()},
            {"models", models}};
}

inline Descriptor descriptor_from(const Json& f) {
    Descriptor d;
    d.node = unhex_id<NodeId>(f["node"]);
    d.onion_key = unhex_array<32>(f["onion_key"]);
    d.hpke_key = unhex_array<32>(f["hpke_key"]);
    d.roles = f["roles"];
    for (const Json& a : f["addresses"]) d.addresses.push_back(*parse_address(a.get<std::string>()));
    d.sequence = f["sequence"];
    d.valid_after = untime(f["valid_after"]);
    d.valid_until = untime(f["valid_until"]);
    d.bond = f["bond"];
    d.family = unhex_id<FamilyId>(f["family"]);
    for (const Json& m : f["models"]) {
        d.models.push_back({.model = unhex_id<ModelId>(m["model"]),
                            .quantisation = m["quantisation"],
                            .context_tokens = m["context_tokens"],
                            .price = unhex_array<32>(m["price"]),
                            .name = m["name"]});
    }
    return d;
}

}  // namespace shoal::wire
