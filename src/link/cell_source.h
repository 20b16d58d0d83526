// What a session takes cells from when its own queues have nothing more urgent: cells that are made as they leave.
#pragma once

#include "wire/cell.h"

namespace shoal::link {

class CellSource {
public:
    virtual ~CellSource() = default;
    virtual bool has_cell() const = 0;
    // When has_cell().
    virtual wire::Cell next_cell() = 0;
};

}  // namespace shoal::link
