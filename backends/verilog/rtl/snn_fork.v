// Delivers every event to all branches in the same cycle, so that each sees the same order.
module snn_fork #(
    parameter BRANCHES = 1
) (
    input wire in_valid,
    output wire in_ready,
    output wire [BRANCHES-1:0] out_valid,
    input wire [BRANCHES-1:0] out_ready
);
    assign in_ready = &out_ready;
    assign out_valid = {BRANCHES{in_valid && in_ready}};
endmodule
