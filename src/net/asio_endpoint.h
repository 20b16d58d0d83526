// Between our endpoints and Asio's. For the .cc files of this room.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include "net/endpoint.h"

namespace shoal::net {

inline boost::asio::ip::tcp::endpoint to_asio(const Endpoint& endpoint) {
    namespace ip = boost::asio::ip;
    if (endpoint.is_v4()) {
        ip::address_v4::bytes_type quad;
        std::memcpy(quad.data(), endpoint.ip.data() + 12, quad.size());
        return {ip::address_v4(quad), endpoint.port};
    }
    ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), endpoint.ip.data(), bytes.size());
    return {ip::address_v6(bytes), endpoint.port};
}

inline Endpoint from_asio(const boost::asio::ip::tcp::endpoint& endpoint) {
    if (endpoint.address().is_v4()) {
        const auto quad = endpoint.address().to_v4().to_bytes();
        return Endpoint::v4(quad[0], quad[1], quad[2], quad[3], endpoint.port());
    }
    Endpoint out;
    const auto bytes = endpoint.address().to_v6().to_bytes();
    std::memcpy(out.ip.data(), bytes.data(), bytes.size());
    out.port = endpoint.port();
    return out;
}

}  // namespace shoal::net
