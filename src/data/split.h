// Holding rows out for evaluation, and finding rows that stand on both sides.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/data_set.h"
#include "data/row.h"

namespace prentice {

// How many of `rows` rows data.eval_split holds out: a share below 1, a number from 1 up; automatic = 5 % and at most
// 500 when there are at least 200 rows, else none.
int64_t held_out_count(const Auto<double>& eval_split, int64_t rows);

// By row: is it held out. Equal rows, and rows with an equal value of data.split_by, stay together; with data.stratify
// each value of that field gives its share. Which rows are taken depends on the seed and on what the rows say, not on
// where they stand. At most `count` rows; fewer only when groups do not fit. Errors: `data` for rows without the field,
// `usage` when no group fits.
std::vector<char> choose_held_out(const std::vector<Row>& rows, int64_t count, const DataSection& section,
                                  uint64_t seed);

// "train.jsonl:12 = test.jsonl:3" for each row of `eval` whose whole text is also a row of `train`.
std::vector<std::string> find_overlap(const DataSet& train, const DataSet& eval);

}  // namespace prentice
