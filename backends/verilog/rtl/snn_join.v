// Merges the ports of a population. A port whose next item is the token of a step waits; when all of them
// wait the step is complete. A held port (a constant input) keeps its token until the sample ends.
module snn_join #(
    parameter PORTS = 1,
    parameter TARGET = 1,
    parameter DATA = 1,
    parameter [PORTS-1:0] HELD = 0
) (
    input wire [PORTS-1:0] in_valid,
    output wire [PORTS-1:0] in_ready,
    input wire [PORTS-1:0] in_token,
    input wire [PORTS*TARGET-1:0] in_target,
    input wire [PORTS*DATA-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire out_held,
    output reg [TARGET-1:0] out_target,
    output reg [DATA-1:0] out_data,
    output wire complete,
    input wire end_of_step,
    input wire end_of_sample
);
    wire [PORTS-1:0] waits = in_valid & ~in_token;
    // the lowest of those that wait: the order within a step does not change a sum
    wire [PORTS-1:0] chosen = waits & (~waits + 1'b1);
    assign out_valid = |waits;
    assign out_held = |(chosen & HELD);
    assign complete = &(in_valid & in_token);
    assign in_ready = (out_ready ? chosen : {PORTS{1'b0}})
        | (end_of_step ? ~HELD : {PORTS{1'b0}}) | {PORTS{end_of_sample}};

    integer i;
    always @* begin
        out_target = 0;
        out_data = 0;
        for (i = 0; i < PORTS; i = i + 1) begin
            if (chosen[i]) begin
                out_target = in_target[i*TARGET +: TARGET];
                out_data = in_data[i*DATA +: DATA];
            end
        end
    end
endmodule
