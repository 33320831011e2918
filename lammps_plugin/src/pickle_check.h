/* SPDX-License-Identifier: GPL-2.0-only

   A walk over a pickle before libtorch's unpickler sees it: that one is made for files of friends,
   and waits for ever at the end of one that is cut. Only the instructions and names that
   TorchScript writes for numbers, texts, lists, tensors and objects of the network pass. */

#ifndef TPAINN_PICKLE_CHECK_H
#define TPAINN_PICKLE_CHECK_H

#include <string>

namespace tpainn {

// What is wrong with it; empty if nothing is.
std::string problem_of_pickle(const std::string &data);

} // namespace tpainn

#endif
